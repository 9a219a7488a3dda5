"""How long each stage takes, said before it starts: counted work times the seconds of a network evaluation.

An evaluation is one network forward with the gradient of its input. Its time is assumed until the stage `speed` has
measured it.
"""

from collections.abc import Mapping

from cgidm.judging.negative_controls import BASE_VS_ITSELF_DRAWS
from cgidm.method.config import find_preset
from cgidm.training.cost import BACKWARD
from eval.benchmark.experiment import Experiment
from eval.reality.plan import RealityPlan

PICTURES = 5.5  # of a subject of DreamBooth: four to six
FORWARD = 0.5  # evaluations that a forward pass takes as long as
SINGLE = 2  # evaluations in half precision that one in single precision takes as long as: trainings
LOADING = 20  # seconds to open a pair
MODEL_SECONDS = 5  # to inspect a public model
QUICK = 20  # seconds of a stage that hardly computes
ANSWER_GB = 7  # of a base that a first answer needs besides, in half precision


def fetch_seconds(plan: RealityPlan, _: float) -> float:
    """The downloads."""
    return 1000 * sum(d.gb for d in plan.downloads) / plan.megabytes_per_second + QUICK


def quick_seconds(_: RealityPlan, __: float) -> float:
    """A stage that hardly computes."""
    return QUICK


def loading_seconds(plan: RealityPlan, each: float) -> float:
    """Headers of every model; downloads and mirror tests of those that are judged."""
    answers = [m for m in plan.public_models if m.answer]
    missing = {m.base for m in answers} - {d.location for d in plan.downloads}
    first = plan.first_answer
    tests = len(answers) * mirror_evaluations(first.reference_pictures + 1, first.mirror_draws)
    waiting = 1000 * ANSWER_GB * len(missing) / plan.megabytes_per_second
    return MODEL_SECONDS * len(plan.public_models) + LOADING * len(answers) + waiting + tests * each


def speed_seconds(plan: RealityPlan, _: float) -> float:
    """As long as the benchmark of speed may take."""
    return plan.bench.seconds + QUICK


def training_seconds(plan: RealityPlan, each: float) -> float:
    """Every suspect of the first experiment; those of the others are among them."""
    experiment = plan.find_experiments()[0]
    presentations = sum(
        _subjects(experiment) * how.steps_per_picture * PICTURES / 2 for how in experiment.trainings.values()
    )
    return presentations * (1 + BACKWARD) * FORWARD * SINGLE * each + LOADING * _suspects(experiment)


def recovery_seconds(plan: RealityPlan, each: float) -> float:
    """Every picture under every method; what two experiments share is computed once."""
    counted: dict[tuple[str, str], float] = {}
    units = 0
    for experiment in plan.find_experiments():
        units += _suspects(experiment)
        for training in experiment.trainings:
            for label, method in experiment.resolved().items():
                pictures = PICTURES * _subjects(experiment)
                counted[training, label] = pictures * method.evaluations
        for label in experiment.chance.methods if experiment.chance else ():
            evaluations = experiment.resolved()[label].evaluations
            counted["chance", label] = 2 * PICTURES * _subjects(experiment) * evaluations
    return sum(counted.values()) * each + LOADING * units


def verdicts_seconds(plan: RealityPlan, each: float) -> float:
    """Two suspects and the base: mirror tests of the pictures and of the reference pictures, and recoveries."""
    config = find_preset("fast")
    tests = mirror_evaluations(2 * plan.reference_pictures + 4 * PICTURES, config.mirror_draws)
    recoveries = 4 * PICTURES * (1 + config.mirrored_recovery) * config.recovery.evaluations()
    return (tests + recoveries) * each + 3 * LOADING


def bank_seconds(plan: RealityPlan, each: float) -> float:
    """The null models, trained as the LoRA was, and one verdict."""
    experiment = plan.find_experiments()[0]
    steps = max(how.steps_per_picture for how in experiment.trainings.values() if how.mode == "lora")
    presentations = plan.bank_models * steps * PICTURES / 2
    return presentations * (1 + BACKWARD) * FORWARD * SINGLE * each + LOADING * (plan.bank_models + 1)


def mirror_evaluations(pictures: float, draws: int) -> float:
    """The mirror test of so many pictures: both models, both orientations, forward passes alone."""
    return FORWARD * pictures * (4 * draws + 2 * BASE_VS_ITSELF_DRAWS)


def total_line(seconds: Mapping[str, float], price: float | None) -> str:
    """The sum in words, and what it costs at a price for an hour."""
    hours = sum(seconds.values()) / 3600
    cost = "" if price is None else f", {hours * price:.2f} at {price:g} an hour"
    return f"all: about {60 * hours:.0f} minutes{cost}"


def _subjects(experiment: Experiment) -> int:
    named = [d.concepts for d in experiment.datasets.values()]
    return sum(len(concepts) if isinstance(concepts, tuple) else concepts or 1 for concepts in named)


def _suspects(experiment: Experiment) -> int:
    return _subjects(experiment) * len(experiment.trainings)
