"""Four clients with a new connection for each request, until the file STOP exists: for the tests of this folder.

clients.py STOP METHOD PATH STATUS [HOST]

They send to port 443 of 127.0.0.1. Any other status than STATUS is a failure, and so is a client without a response.
"""

import http.client
import os
import ssl
import sys
import threading

stop, method, path, status, host = (*sys.argv[1:], "localhost")[:5]
context = ssl._create_unverified_context()
counts, faults = [0] * 4, []


def work(number):
    while not os.path.exists(stop):
        try:
            connection = http.client.HTTPSConnection("127.0.0.1", timeout=20, context=context)
            body = "{}" if method == "POST" else None
            connection.request(method, path, body, {"Host": host, "Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status != int(status):
                raise OSError(f"{response.status} {content[:100]!r}")
            counts[number] += 1
            connection.close()
        except Exception as error:
            faults.append(repr(error))


threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(sum(counts), "requests,", len(faults), "failed", *faults[:3])
sys.exit(bool(faults) or min(counts) == 0)
