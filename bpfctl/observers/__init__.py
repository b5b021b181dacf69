"""Observers that come with bpfctl."""
