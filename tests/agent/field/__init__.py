"""Situations from public reports: each test names the report in its docstring."""
