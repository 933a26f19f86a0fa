"""The limits of the hardware, measured in the same run as the results compared with them."""
