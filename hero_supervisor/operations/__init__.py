"""What a ``Supervisor`` can do, one class for each noun it does it to; ``Supervisor`` is all of them in one."""
