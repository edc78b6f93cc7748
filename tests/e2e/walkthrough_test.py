"""The Postman collection, as `make walkthrough` runs it."""

from case import Case


class TheWalkthrough(Case):
    def test_is_green_twice_in_a_row_on_one_stack(self):
        for _ in range(2):
            # A failed assertion is an exit code, and then newman's report is the message.
            self.shop.script("walkthrough", "--", "--color", "off", "--timeout-request", "20000")
