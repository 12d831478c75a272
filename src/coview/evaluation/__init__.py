"""Judgement of an encoder: evaluation beside its opponents, pictures of its space, embeddings.

Reading order: `evaluate`, `subjects`, `diagnosis`, `atlas`, `embed`.
"""
