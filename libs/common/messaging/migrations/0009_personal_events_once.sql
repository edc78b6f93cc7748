-- 0008 has made the index that takes its place.
DROP INDEX outbox_personal;
