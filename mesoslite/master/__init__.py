"""The master: who has what, who is offered what. `protocol.py` is its contract."""
