"""The rules of metrics, churn and customer lifetime value: pure functions without I/O, clock or chance."""
