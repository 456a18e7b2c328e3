"""What happens inside an instance: user data and the small commands that a container lacks."""
