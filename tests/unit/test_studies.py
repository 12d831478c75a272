"""The runner: skipping, killing, failing, reporting; and the arithmetic of the MINC studies."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from coview.objectives import minc, spectral_contrastive
from coview.pages.study_page import write_study_page
from coview.random import generator
from coview.ranks import Ranks
from coview.studies import (
    Report,
    Study,
    Table,
    Trial,
    Verdict,
    get,
    minc_batch_size,
    minc_tabular,
    minc_variance,
)
from coview.studies.intervals import mean_interval
from coview.studies.runner import finished, run_study
from coview.studies.study import key


def trials(scale):
    return [{"x": x} for x in range({"smoke": 2}.get(scale, 4))]


def run(settings, folder):
    if Path(f"{folder}.fail").exists():
        raise ArithmeticError(f"no luck with {settings['x']}")
    with Path(f"{folder}.ran").open("a") as file:
        file.write("x")
    return {"square": settings["x"] ** 2, "threads": torch.get_num_threads()}


def report(done):
    total = sum(trial.measured["square"] for trial in done)
    return Report(
        verdict=Verdict(word="supported", why=f"The squares add up to {total}."),
        tables=[Table(title="Squares", columns=["x"], rows=[[str(t.settings["x"])] for t in done])],
    )


STUDY = Study(
    name="squares", claim="<b>Squares</b>", source="us", trials=trials, run=run, report=report
)


def times_run(folder):
    return sum(len(file.read_text()) for file in (folder / "trials").glob("*.ran"))


def test_a_larger_scale_reuses_trials_and_nothing_runs_twice(tmp_path):
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    assert times_run(tmp_path) == 2
    run_study(STUDY, scale="laptop", out=tmp_path, workers=2)
    run_study(STUDY, scale="laptop", out=tmp_path, workers=1)
    assert times_run(tmp_path) == 4
    done = finished(STUDY, trials("laptop"), tmp_path)
    assert [trial.measured["square"] for trial in done] == [0, 1, 4, 9]
    assert all(trial.measured["threads"] == 1 for trial in done)
    record = json.loads((tmp_path / "report.json").read_text())
    assert record["verdict"]["why"] == "The squares add up to 14."
    assert record["trials"] == {"asked": 4, "finished": 4}


def test_a_record_that_was_cut_short_is_not_there(tmp_path):
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    record = tmp_path / "trials" / f"{key(STUDY, {'x': 1})}.json"
    record.rename(record.with_name(record.name + ".part"))
    assert len(finished(STUDY, trials("smoke"), tmp_path)) == 1
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    assert times_run(tmp_path) == 3


def test_a_failing_trial_leaves_the_others_and_is_tried_again(tmp_path):
    (tmp_path / "trials").mkdir()
    fault = tmp_path / "trials" / f"{key(STUDY, {'x': 0})}.fail"
    fault.touch()
    with pytest.raises(RuntimeError, match=r"1 of 2 trials failed.*no luck with 0"):
        run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    assert json.loads((tmp_path / "report.json").read_text())["trials"]["finished"] == 1
    fault.unlink()
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    assert times_run(tmp_path) == 2
    assert not list((tmp_path / "trials").glob("*.error.txt"))


def strange(settings, folder):
    return {"square": float("nan"), "nested": [{"x": float("inf")}, 1.5, None, "text", True]}


def test_numbers_that_are_not_finite_are_null_in_the_records(tmp_path):
    study = Study(**{**vars(STUDY), "run": strange, "report": lambda done: report([])})
    run_study(study, scale="smoke", out=tmp_path, workers=1)
    for file in [*(tmp_path / "trials").glob("*.json"), tmp_path / "report.json"]:
        json.loads(file.read_text(), parse_constant=pytest.fail)
    measured = finished(study, trials("smoke"), tmp_path)[0].measured
    assert measured == {"square": None, "nested": [{"x": None}, 1.5, None, "text", True]}


def test_settings_study_and_version_make_the_key():
    others = [
        key(STUDY, {"x": 1}),
        key(STUDY, {"x": 2}),
        key(Study(**{**vars(STUDY), "version": 2}), {"x": 1}),
        key(Study(**{**vars(STUDY), "name": "cubes"}), {"x": 1}),
    ]
    assert len(set(others)) == 4
    assert key(STUDY, {"a": 1, "b": 2}) == key(STUDY, {"b": 2, "a": 1})


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scale": "huge"}, "scale must be one of smoke"), ({"workers": 0}, "workers must be")],
)
def test_bad_arguments(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run_study(STUDY, out=tmp_path, **options)


def test_names():
    with pytest.raises(ValueError, match="did you mean 'minc-tabular'"):
        get("minc-tabula")
    needs_images = Study(**{**vars(STUDY), "data": True})
    with pytest.raises(ValueError, match="squares needs images"):
        run_study(needs_images)


def test_the_page_has_the_claim_the_verdict_and_escapes_text(tmp_path):
    run_study(STUDY, scale="smoke", out=tmp_path, workers=1)
    page = write_study_page(tmp_path).read_text()
    assert "The squares add up to 1." in page
    assert "&lt;b&gt;Squares" in page
    with pytest.raises(FileNotFoundError, match="not a finished study"):
        write_study_page(tmp_path / "trials")


def test_t_interval():
    mean, low, high = mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, 2 - 2.48414, 2 + 2.48414), abs=1e-4)


class TestTabular:
    def test_the_joint_is_symmetric_and_has_the_stated_best_value(self):
        both = minc_tabular.joint()
        np.testing.assert_allclose(both, both.T)
        assert both.sum() == pytest.approx(1)
        assert minc_tabular.best(both) == pytest.approx(minc_tabular.BEST, abs=1e-6)

    def test_the_leading_eigenfunctions_reach_the_best_value(self):
        both = minc_tabular.joint()
        root = np.sqrt(both.sum(1))
        values, vectors = np.linalg.eigh(both / root / root[:, None])
        phi = vectors[:, -8:] * np.sqrt(values[-8:]) / root[:, None]
        reached = minc_tabular.bound(torch.from_numpy(phi), torch.from_numpy(both))
        assert float(reached) == pytest.approx(minc_tabular.BEST, abs=1e-6)

    @pytest.mark.parametrize("name", minc_tabular.METHODS)
    def test_gradients_are_those_of_the_objectives(self, name):
        method = minc_tabular.METHODS[name]
        rng = generator("test", name)
        z, target = (torch.from_numpy(rng.normal(size=(3, 2, 5, 8))) for _ in range(2))
        moment = torch.from_numpy(rng.normal(size=(3, 8, 8)))
        moment = moment @ moment.mT
        found = minc_tabular.gradient(z, target, moment, method)
        options = {"normalization": "none", "scale": 1.0, "ranks": Ranks()}
        for run in range(3):
            leaf = z[run].clone().requires_grad_()
            if method["kind"] == "spectral":
                loss = spectral_contrastive(leaf, **options)
            else:
                rows = target[run].flatten(0, 1)
                own = rows.T @ rows / len(rows)
                memory = own if method["kind"] == "itself" else moment[run]
                share = method.get("batch_weight", 0.0)
                loss = minc(leaf, target[run], memory, batch_weight=share, **options)
            (expected,) = torch.autograd.grad(loss, leaf)
            torch.testing.assert_close(found[run], expected)

    def test_a_short_training_rises_towards_the_best_value(self):
        method = minc_tabular.METHODS["MINC, average .9"]
        finals = minc_tabular.train(method, batch=32, steps=150, seeds=1)
        assert 1.0 < np.nanmax(finals) < minc_tabular.BEST

    def test_verdict(self):
        def trial(method, batch, final):
            return Trial(
                settings={"method": method, "batch": batch, "steps": 4000, "seeds": 3},
                measured={"step_sizes": [1.0], "final": [final]},
                seconds=1.0,
            )

        memory, pairs = "MINC, average .99", "spectral, pairs of the batch"
        flat = [trial(memory, batch, [3.0, 3.01, 3.02]) for batch in minc_tabular.BATCHES]
        nan = float("nan")
        falling = [trial(pairs, batch, [3.0, 3.0, 3.0]) for batch in minc_tabular.BATCHES[1:]]
        assert minc_tabular.report([*flat, *falling]).verdict.word.startswith("undecided")
        diverged = [trial(pairs, 4, [nan, 3.0, 3.0]), *falling]
        said = minc_tabular.report([*flat, *diverged])
        assert said.verdict.word == "supported"
        assert "diverges" in said.verdict.why
        alike = [trial(pairs, 4, [3.0, 3.01, 3.02]), *falling]
        assert minc_tabular.report([*flat, *alike]).verdict.word == "not supported"


class TestVariance:
    def problem(self):
        rng = generator("variance problem")
        features = torch.from_numpy(rng.normal(size=(1, 40, 6)) + 0.3 * rng.normal(size=(2, 40, 6)))
        return features, torch.from_numpy(rng.normal(size=(4, 6)))

    def draw(self, batch, count, **options):
        features, weight = self.problem()
        found = minc_variance.gradients(features, weight, batch, generator("draws"), **options)
        return torch.stack([next(found).flatten() for _ in range(count)])

    def test_pairs_of_a_batch_are_unbiased_and_noise_falls_with_the_batch(self):
        truth = minc_variance.pool_gradient(*self.problem(), both=False).flatten()
        norm = float(truth.square().sum())
        small, large = (minc_variance.errors(self.draw(batch, 400), truth) for batch in (4, 16))
        assert abs(small["squared_bias"]) < 0.05 * small["variance"]
        assert large["variance"] < small["variance"] / 3
        assert large["variance"] > 0.001 * norm

    def test_the_batch_with_itself_is_biased_at_small_batches(self):
        truth = minc_variance.pool_gradient(*self.problem(), both=True).flatten()
        itself = minc_variance.errors(self.draw(4, 400, batch_weight=0.0, decay=0.0), truth)
        both = minc_variance.errors(self.draw(4, 400, batch_weight=1.0, decay=0.0), truth)
        assert itself["squared_bias"] > 10 * abs(both["squared_bias"])

    def test_errors_of_known_samples(self):
        samples = torch.tensor([[1.0, 0.0], [3.0, 0.0]])
        found = minc_variance.errors(samples, torch.tensor([0.0, 0.0]))
        assert found == {"variance": 2.0, "squared_bias": 3.0}


class TestBatchSize:
    @staticmethod
    def trials(**accuracy):
        """Return trials whose accuracies at rate 1 are given, by loss and batch, for 3 seeds.

        Other rates are worse on validation images and better on test images.
        """
        return [
            Trial(
                settings={"loss": loss, "batch": batch, "rate": rate, "seed": seed},
                measured={
                    "validation": value + 0.01 * seed - 0.1 * (rate != 1),
                    "test": value + 0.01 * seed + 0.3 * (rate != 1),
                },
                seconds=1.0,
            )
            for loss, values in accuracy.items()
            for batch, value in values.items()
            for rate in minc_batch_size.RATES
            for seed in (2, 0, 1)
        ]

    def test_rates_are_chosen_on_validation_images(self):
        done = self.trials(minc={8: 0.5}, spectral_contrastive={8: 0.4})
        said = minc_batch_size.report(done)
        assert said.tables[0].rows[0] == ["spectral_contrastive", "0.410 [0.385, 0.435] (×1)"]
        assert said.tables[0].rows[2][1] == "0.100 [0.100, 0.100]"

    @pytest.mark.parametrize(
        ("minc", "word"),
        [
            ({8: 0.50, 64: 0.52}, "supported"),
            ({8: 0.50, 64: 0.48}, "not supported"),  # behind somewhere
            ({8: 0.40, 64: 0.50}, "not supported"),  # ahead nowhere
            ({8: 0.41, 64: 0.56}, "not supported"),  # falls as far
        ],
    )
    def test_verdict(self, minc, word):
        done = self.trials(minc=minc, spectral_contrastive={8: 0.40, 64: 0.50})
        assert minc_batch_size.report(done).verdict.word == word
        assert minc_batch_size.report(done[:-9]).verdict.word != "supported"

    def test_a_trial_runs(self, tmp_path):
        images = generator("batch size").integers(0, 255, (60, 12, 12, 3)).astype(np.uint8)
        np.savez(tmp_path / "x.npz", images=images, labels=np.arange(60) % 3)
        settings = {"loss": "minc", "batch": 4, "rate": 1.0, "seed": 0, "images": 12}
        found = minc_batch_size.run({**settings, "data": str(tmp_path / "x.npz")}, tmp_path / "t")
        assert found.keys() == {"validation", "test"}
        assert all(0 <= value <= 1 for value in found.values())
