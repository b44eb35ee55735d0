"""How the product is packed for hosts: a deb, an rpm, and one file for hosts without internet."""
