"""Tables, figures and the page, from files alone; and the gate that judges the published metrics."""
