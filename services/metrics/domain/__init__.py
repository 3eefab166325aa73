"""Churn and customer lifetime value: pure mathematics, without I/O, clock or chance."""
