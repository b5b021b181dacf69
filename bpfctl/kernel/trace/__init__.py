"""Tracing: the trace pipe, kernel symbols."""
