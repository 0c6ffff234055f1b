"""Networks: addresses, bridges, firewall, name files."""
