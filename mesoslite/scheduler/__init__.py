"""The framework author's side: the class that is subclassed, the session, and the driver."""
