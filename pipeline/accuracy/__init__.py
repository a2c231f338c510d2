"""How well do detections agree with what is there?"""
