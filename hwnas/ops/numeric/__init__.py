"""Arithmetic shared by the primitives: numpy for the references, torch (imported only when training) for the rest."""
