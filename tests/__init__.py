"""The tests; a package, so that the laboratory is imported by one name everywhere: `tests.lab`."""
