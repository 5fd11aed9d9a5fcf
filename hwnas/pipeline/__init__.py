"""The main job: from a run file to measured, verified models; every finished stage is kept and reused."""
