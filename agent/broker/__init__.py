"""The station's side of MQTT: one persistent connection to the collector's broker."""
