"""Training: requests by name, methods, the loop, resuming it, and the files it leaves."""

from ahsar_eval.training.files import TrainingFiles, train_to_file
from ahsar_eval.training.history import CURVES, read_history
from ahsar_eval.training.loop import TrainingDivergedError, loss_and_accuracy, train
from ahsar_eval.training.methods import METHODS, Method, Recipe, check_method, parse_method
from ahsar_eval.training.precision import PRECISIONS
from ahsar_eval.training.ranks import Ranks, joined, present_ranks
from ahsar_eval.training.request import Prepared, TrainingRequest, prepare

__all__ = [
    "CURVES",
    "METHODS",
    "PRECISIONS",
    "Method",
    "Prepared",
    "Ranks",
    "Recipe",
    "TrainingDivergedError",
    "TrainingFiles",
    "TrainingRequest",
    "check_method",
    "joined",
    "loss_and_accuracy",
    "parse_method",
    "prepare",
    "present_ranks",
    "read_history",
    "train",
    "train_to_file",
]
