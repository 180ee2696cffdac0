"""The command line: a study file or a run's folder goes in, a study is read from it and asked to act.

`cli` parses the words; every other module is one command, or what commands share (`study_file`).
"""
