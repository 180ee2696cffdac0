"""Study files of the built-in demos."""
