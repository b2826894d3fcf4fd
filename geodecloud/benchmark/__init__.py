"""How good models are on known skies, real pairs and other dates, beside simpler answers."""
