"""The main job: from a run file to measured, verified models, stage by stage; every finished stage is kept and reused."""
