"""Training: the loop, a step of pretraining, checkpoints, observers and the run folder.

Reading order: `pretrain`, `job`, `learner`, `loop`.
"""
