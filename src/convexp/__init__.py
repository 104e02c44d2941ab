"""convexp learns convolutions."""
