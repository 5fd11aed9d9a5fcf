"""One task a file: what a net is trained for, and how its answers are judged (`Task` in hwnas/protocols.py)."""
