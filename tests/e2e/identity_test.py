"""Who may do what, and until when."""

from case import Case
from harness import Person


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
