"""Training: methods, the loop, and resuming it."""

from ahsar_eval.training.loop import Recipe, TrainingDivergedError, loss_and_accuracy, train
from ahsar_eval.training.methods import METHODS, Method, parse_method

__all__ = ["METHODS", "Method", "Recipe", "TrainingDivergedError", "loss_and_accuracy", "parse_method", "train"]
