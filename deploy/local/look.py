"""Looking into a running stack: logs, databases, topics, mails, gRPC."""


def add_commands(command):
    pass
