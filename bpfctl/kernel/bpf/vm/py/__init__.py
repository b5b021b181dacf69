"""The engine ``py``: programs as Python source, structured where their flow allows."""
