-- What it was for, that of 0013 does. A file of its own, as nobody reads orders while an index is dropped.
DROP INDEX orders_waiting;
