"""Introspects tokens with Authlib's own client and validator, unmodified.

usage: introspect_authlib.py URL CA-FILE SCOPES TOKEN...
Prints, as JSON, for each token what the validator made of it: the subject, or the
error by which it refused the request.
"""
import json
import sys

import requests
from authlib.oauth2 import OAuth2Error
from authlib.oauth2.rfc7662 import IntrospectTokenValidator


class Zone(IntrospectTokenValidator):
    def introspect_token(self, token_string):
        url, ca = sys.argv[1:3]
        data = {"token": token_string, "token_type_hint": "access_token"}
        response = requests.post(url + "/v1/introspect", data=data, auth=("client", "secret"), verify=ca, timeout=120)
        response.raise_for_status()
        return response.json()


def outcome(token):
    validator = Zone()
    try:
        answer = validator.authenticate_token(token)
        validator.validate_token(answer, sys.argv[3].split(), None)
        return answer["sub"]
    except OAuth2Error as error:
        return error.error


print(json.dumps([outcome(token) for token in sys.argv[4:]]))
