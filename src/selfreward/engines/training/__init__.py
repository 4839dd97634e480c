"""The engine that trains: TRL in one process or many, with checkpoints to go on from."""
