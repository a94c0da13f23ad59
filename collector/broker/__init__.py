"""The collector's side of MQTT: the managed Mosquitto and the connection to it (or to any MQTT 5 broker)."""
