"""How ions jump, groups turn and atoms vibrate."""
