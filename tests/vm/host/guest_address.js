// SPDX-License-Identifier: GPL-2.0-or-later
//
// Loaded into Azurite: guests know the host as 10.0.2.2, and give that in the
// source of a server-side copy. Here it is the loopback.
"use strict";
const net = require("net");
const connect = net.Socket.prototype.connect;

net.Socket.prototype.connect = function (...args) {
	const options = Array.isArray(args[0]) ? args[0][0] : args[0];

	if (options && options.host === "10.0.2.2")
		options.host = "127.0.0.1";
	return connect.apply(this, args);
};
