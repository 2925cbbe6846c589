def open_lesson(wanted):
    return "{}", None


def list_block():
    return {"lessons": []}
