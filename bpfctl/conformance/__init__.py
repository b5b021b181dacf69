"""The conformance suite: what every map type must hold to, whoever wrote it."""
