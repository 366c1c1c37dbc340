"""What people see of fakts in a browser: sign-in, the approval of apps, and what they have approved."""
