"""The databases of a stack, read and now and then written to from outside."""

import json

import servers
from settings import Settings


class Databases:
    def __init__(self, shop):
        self.settings = Settings.read(shop.env_file)

    def run(self, database, sql):
        done = servers.psql(self.settings, database, self.settings.role_password(database), database,
                            ["-XAtqc", sql], capture_output=True, text=True)
        if done.returncode:
            raise OSError(done.stderr)
        return done.stdout

    def rows(self, database, query):
        return json.loads(self.run(database, f"SELECT coalesce(json_agg(t), '[]') FROM ({query}) t"))

    def number(self, database, query):
        return int(self.run(database, query))
