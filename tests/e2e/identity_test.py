"""Who may do what, and until when."""

from case import Case
from harness import PASSWORD, Person, wait_for


class FormerSuperAdmin(Case):
    def test_gives_no_power_with_the_old_token(self):
        deputy = Person(self.shop, "deputy")
        friend = Person(self.shop, "friend")
        self.assertEqual(200, self.boss.call("PUT", f"/users/{deputy.id}/role", {"role": "SUPER_ADMIN"}).status)
        deputy = Person(self.shop, email_address=deputy.email)
        self.assertEqual(200, deputy.call("PUT", f"/users/{friend.id}/role", {"role": "SELLER"}).status)

        self.assertEqual(200, self.boss.call("PUT", f"/users/{deputy.id}/role", {"role": "USER"}).status)
        for claim, method, path, body in (
                ("promotes themselves", "PUT", f"/users/{deputy.id}/role", {"role": "SUPER_ADMIN"}),
                ("promotes a friend", "PUT", f"/users/{friend.id}/role", {"role": "ADMIN"}),
                ("deletes somebody", "DELETE", f"/users/{friend.id}", None),
                ("registers an accomplice", "POST", "/auth/register",
                 {"name": "Accomplice", "email": "accomplice@example.com", "password": "Walk-Through-1!",
                  "role": "SUPER_ADMIN"})):
            with self.subTest(claim):
                self.assertEqual(403, deputy.call(method, path, body).status)
        self.assertEqual("SELLER", self.boss.call("GET", f"/users/{friend.id}").data["role"])


class Session(Case):
    def log_in(self, email):
        answer = self.shop.call("POST", "/auth/login", {"email": email, "password": PASSWORD})
        self.assertEqual(200, answer.status)
        return answer.data

    def refresh(self, tokens):
        return self.shop.call("POST", "/auth/refresh", {"refreshToken": tokens["refreshToken"]})

    def test_goes_on_by_refreshing_and_ends_with_a_stolen_token(self):
        first = self.log_in(Person(self.shop, "traveller").email)
        second = self.refresh(first).data
        third = self.refresh(second).data
        self.assertEqual(200, self.shop.call("GET", "/auth/me", token=third["accessToken"]).status)
        self.assertEqual(401, self.refresh(first).status)
        self.assertEqual(401, self.refresh(third).status)

    def test_ends_with_the_role_it_began_with(self):
        person = Person(self.shop, "promoted")
        before = self.log_in(person.email)
        self.assertEqual(200, self.boss.call("PUT", f"/users/{person.id}/role", {"role": "SELLER"}).status)
        since = self.log_in(person.email)
        wait_for("the old session to have ended", lambda: self.refresh(before).status == 401)
        answer = self.refresh(since)
        self.assertEqual((200, "SELLER"), (answer.status, answer.data["user"]["role"]))
