"""The report stage (being written)."""


def write(path, context, checks):
    raise NotImplementedError
