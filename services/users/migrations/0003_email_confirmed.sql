-- When its owner confirmed the address. Of those who registered before this column nobody knows: none is confirmed.
ALTER TABLE profiles ADD COLUMN email_confirmed_at timestamptz;

-- Whoever changes an address, whatever it is confirmed by comes after that.
CREATE FUNCTION forget_confirmation() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.email_confirmed_at := NULL;
  RETURN NEW;
END $$;
CREATE TRIGGER profiles_another_email BEFORE UPDATE OF email ON profiles
  FOR EACH ROW WHEN (NEW.email <> OLD.email) EXECUTE FUNCTION forget_confirmation();
