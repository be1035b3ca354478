from typing import Any

from scripts.compression.plan import TEACHER, Training
from scripts.compression.stage_folders import write_json
from scripts.compression.study import Study
from scripts.compression.train_stage import TAIL_RATE, job_of, plan_steps, reserve_s
from tests.scripts.compression.made_studies import again
from tests.scripts.compression.plans import FOCUS


def test_the_job_of_each_training(study: Study) -> None:
    def job(training: Training) -> Any:
        return job_of(study, training, study.trained(training), 100, None, only_pace=False)

    focus = job(study.plan.training(FOCUS))
    assert focus.options["teacher"] == str(study.teacher)
    assert focus.config["model_name"] == str(study.student(FOCUS).folder)
    assert focus.config["eval_steps"] == 100, "no more than the steps"
    plain = job(study.plan.training(f"{FOCUS}-plain"))
    assert "teacher" not in plain.options
    assert job(study.plan.training(f"{TEACHER}-plain")).config["model_name"] == str(study.teacher)
    pruned = job(study.plan.training(f"{FOCUS}-movement80"))
    assert pruned.config["model_name"] == str(study.trained(study.plan.training(FOCUS)).folder)
    assert pruned.config["learning_rate"] == TAIL_RATE * 1e-4
    assert (pruned.options["pruning"], pruned.options["prune_to"]) == ("movement", 0.8)
    assert job(study.plan.training(f"{FOCUS}-trained8bit")).options["quantize_bits"] == 8
    assert job(study.plan.training(f"{FOCUS}-seed2")).config["seed"] == 2


def test_a_budget_plans_the_steps_of_what_has_not_begun(study: Study) -> None:
    other = again(study, steps=1000)
    pace_s = {one.name: 1.0 for one in other.plan.trainings}
    allotment = plan_steps(other, pace_s, 2000.0)
    assert allotment.share < 1
    kept = [one for one in other.plan.trainings if one.name not in allotment.left_out]
    steps = {one.name: other.steps_of(one) for one in kept}
    assert steps == allotment.steps
    assert sum(steps.values()) <= 2000
    (other.trained(kept[0]).partial).mkdir(parents=True)
    richer = again(other)
    assert plan_steps(richer, pace_s, 1e6).steps[kept[0].name] == steps[kept[0].name], "it has begun"
    assert richer.steps_of(kept[1]) == 1000


def test_time_is_kept_for_the_stages_after_the_trainings(study: Study) -> None:
    stage = study.artifact(study.plan.points[0])
    result = stage.result()
    (stage.folder / "result.json").write_text("{}")
    stage.partial.mkdir(parents=True)
    stage.finish(result, took_s=0.0)
    write_json(stage.folder / "result.json", result | {"took_s": 60})
    assert reserve_s(study) >= 60 * (len(study.plan.points) - 1)
    assert reserve_s(again(study, stages=("train",))) == 0
