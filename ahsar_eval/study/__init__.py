"""A study: a grid of trainings, each with its evaluation, run side by side and gathered into the
paper's tables.
"""
