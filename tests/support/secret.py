"""What the environment of an attacked engine holds, and no container may ever see."""

SECRET = "this-is-the-engines-secret"
