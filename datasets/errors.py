"""Errors that a user's data can cause; each message says what is wrong and what to do."""


class DatasetError(Exception):
    """A folder, manifest or split that cannot be used as it is."""


class UnreadableImageError(DatasetError):
    """An image or mask file that does not decode; the message names it."""
