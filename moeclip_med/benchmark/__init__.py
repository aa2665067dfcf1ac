"""Evaluation on data sets with known answers: metrics, data sets, baselines, reports."""
