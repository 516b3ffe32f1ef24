"""Pictures of finished runs and the numbers in them: the one part of the package that imports matplotlib."""
